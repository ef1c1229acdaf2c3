# Exact versions: see ../aws/versions.tf.
terraform {
  required_version = ">= 1.10.0"

  # The state holds passwords, as that of ../aws does.
  backend "s3" {}

  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = "3.1.1"
    }
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = "2.38.0"
    }
  }
}

locals {
  login = ["eks", "get-token", "--region", var.aws.region, "--cluster-name", var.aws.cluster]
}

provider "kubernetes" {
  host                   = var.aws.endpoint
  cluster_ca_certificate = base64decode(var.aws.authority)

  exec {
    api_version = "client.authentication.k8s.io/v1beta1"
    command     = "aws"
    args        = local.login
  }
}

provider "helm" {
  kubernetes = {
    host                   = var.aws.endpoint
    cluster_ca_certificate = base64decode(var.aws.authority)

    exec = {
      api_version = "client.authentication.k8s.io/v1beta1"
      command     = "aws"
      args        = local.login
    }
  }
}
