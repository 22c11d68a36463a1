"""First-party plugin of medldm."""
