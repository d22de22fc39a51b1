"""``agentkit talk``: a conversation at the desk, seen in the terminal.

`view` says what there is to see, `picture` draws it, `terminal` puts it on the screen, `typed` lets
the caller type instead of speak, and `command` holds the conversation.
"""
