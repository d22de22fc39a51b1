"""agentkit: turn-taking for voice agents, with replies drafted before the turn is over."""
