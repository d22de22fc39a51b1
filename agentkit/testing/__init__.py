"""Helps for users and plugin authors: scripted peers, virtual time, a transport with a clock."""
