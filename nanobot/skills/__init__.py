"""Skills: instructions for kinds of work, as folders with a SKILL.md."""
