"""The processes of a node's ranks: started, heard, ended. Standard library only."""
