"""Classical Chinese poems: collections of them, their forms, and the text that Yuefu reads."""
