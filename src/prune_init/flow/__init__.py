"""Synaptic flow and its conservation laws, neuron by neuron and cut by cut."""
