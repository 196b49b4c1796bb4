// Conditions on columns, joined by `and`: the part of the language of `streamscope table --filter` that a page needs.
function compileFilter(text, table, describe) {
  const place = new Map(table.columns.map((name, index) => [name, index]));
  const column = (name) => {
    if (!place.has(name)) throw new Error(`unknown column ${name}`);
    return name;
  };
  const truth = (name) => (row) => {
    const value = row[place.get(name)];
    return value !== null && value !== "" && value !== false && value !== 0;
  };
  const literal = (word) => {
    if (/^(true|false)$/i.test(word)) return word.toLowerCase() === "true";
    if (/^-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(word)) return Number(word);
    return word.replace(/^(["'])(.*)\1$/, "$2");
  };
  const compare = {
    "<": (a, b) => a < b,
    "<=": (a, b) => a <= b,
    ">": (a, b) => a > b,
    ">=": (a, b) => a >= b,
    "==": (a, b) => a === b,
    "=": (a, b) => a === b,
    "!=": (a, b) => a !== b,
  };
  const comparison = (left, sign, right) => {
    const value = (word) => {
      if (place.has(word)) return (row) => row[place.get(word)];
      if (/^[a-z_]\w*$/i.test(word) && !/^(true|false)$/i.test(word)) throw new Error(`unknown column ${word}; quote a text`);
      const found = literal(word);
      return () => found;
    };
    const [a, b] = [value(left), value(right)];
    const kinds = [left, right].filter((word) => place.has(word)).map((word) => describe[word].kind);
    if (!kinds.length) throw new Error(`no column in ${left} ${sign} ${right}`);
    return (row) => {
      const [x, y] = [a(row), b(row)];
      // A comparison with an empty field is false, as in the terminal; an empty text is a text.
      if (kinds[0] === "text") return compare[sign](x ?? "", y ?? "");
      return x !== null && y !== null && compare[sign](Number(x), Number(y));
    };
  };
  const operand = `(?:"[^"]*"|'[^']*'|[-\\w.+]+)`;
  const sign = "(<=|>=|==|!=|<|>|=)";
  const condition = (part) => {
    let found;
    if ((found = part.match(/^not\s+(.*)$/i))) {
      const inner = condition(found[1].trim());
      return (row) => !inner(row);
    }
    if ((found = part.match(/^missing\(\s*(\w+)\s*\)$/i))) {
      const name = column(found[1]);
      return (row) => row[place.get(name)] === null || row[place.get(name)] === "";
    }
    if ((found = part.match(/^tagged\(\s*["']([^"']*)["']\s*\)$/i))) {
      const tag = found[1];
      return (row) => (row[place.get("tags")] || "").split(" ").includes(tag);
    }
    if ((found = part.match(new RegExp(`^(${operand})\\s*${sign}\\s*(${operand})(?:\\s*${sign}\\s*(${operand}))?$`)))) {
      const first = comparison(found[1], found[2], found[3]);
      const second = found[5] === undefined ? () => true : comparison(found[3], found[4], found[5]);
      return (row) => first(row) && second(row);
    }
    if (/^\d+$/.test(part)) return (row) => row[place.get("channel")] === Number(part);
    if (/^\w+$/.test(part)) return truth(column(part));
    throw new Error(`cannot read "${part}"; write for example mix_ratio > 0.7 and scale_invariant`);
  };
  const parts = text.trim() ? text.trim().split(/\s+and\s+/i) : [];
  const conditions = parts.map((part) => condition(part.trim()));
  return (row) => conditions.every((holds) => holds(row));
}
