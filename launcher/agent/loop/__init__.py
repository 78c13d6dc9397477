"""What the agent's loop does about each event; imports ranks, node, forkserver, rendezvous."""
