"""What the whole training reaches on public sets, by the very stages that the commands run."""
