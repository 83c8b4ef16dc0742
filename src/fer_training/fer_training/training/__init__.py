"""From datasets to networks: supervised training, domain adaptation, distillation, pruning."""
