# Exact versions: this repository has no lock file, because the checksums of these
# providers could not be had where it was written. `tofu init` makes one; keep it.
terraform {
  required_version = ">= 1.10.0"

  # The state holds passwords: a bucket of your own, encrypted, given to `tofu init`.
  backend "s3" {}

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "6.25.0"
    }
    random = {
      source  = "hashicorp/random"
      version = "3.7.2"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      project = "m7pulse"
      name    = var.name
    }
  }
}
