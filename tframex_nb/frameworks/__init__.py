"""Agent frameworks behind one interface: found, scored, chosen, isolated, swapped."""
