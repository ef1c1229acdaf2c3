# All rules of the ruleset that tflint has in itself. That of AWS is a plugin of its own,
# which tflint loads from GitHub: README.md says what that leaves unseen.
plugin "terraform" {
  enabled = true
  preset  = "all"
}

# It wants a main.tf, and outputs in outputs.tf: these roots have a file for each subject.
rule "terraform_standard_module_structure" {
  enabled = false
}
