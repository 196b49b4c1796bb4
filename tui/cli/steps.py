"""What a report lacks, as commands that can be pasted: about its model, store and set."""

from __future__ import annotations

from streamscope.core.model.blocks import ModelInfo
from streamscope.core.report.steps import Step, Wording
from streamscope.core.store import FZSet
from streamscope.tui.command_lines import CommandLine, block_words, null_words, set_words


def wording_of(commands: CommandLine, info: ModelInfo, fzset: FZSet) -> Wording:
    """Steps as commands about the report's model, store and set."""
    of_set = set_words(fzset.key, info)

    def wording(step: Step) -> str:
        blocks = (*block_words(step.blocks), *of_set)
        match step.act:
            case "scan":
                return f"run '{commands('scan', 'DIR')}'"
            case "seeds":
                return f"run '{commands('nulls', '--block', 'B', *of_set, '--seeds', '1,2')}' for others"
            case "pair":
                how = commands("compute", *of_set)
                return f"run '{how}' with another --seed, or with --capture lucent, to compare with"
            case "nulls":
                return f"run '{commands('nulls', *blocks, *null_words(step.nulls))}'"
            case "decide":
                return f"run '{commands('compute', '--decide', *blocks)}' for others"
            case "ablate":
                how = commands("ablate", *blocks, "DIR")
                return f"run '{how}' with a labelled folder DIR, one folder a class"
        return f"run '{commands(step.act, *blocks)}'"

    return wording
