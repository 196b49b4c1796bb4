"""What the app knows of the store: tables, pictures, facts of a channel, marks, jobs. No widgets."""
