# Run with -var-file=../examples/small/aws.tfvars: each run spoils one value of it.
mock_provider "aws" {
  override_data {
    target = data.aws_availability_zones.up
    values = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  override_resource {
    target = aws_eks_cluster.this
    values = {
      certificate_authority = [{ data = "Y2VydGlmaWNhdGU=" }]
    }
  }
}

mock_provider "random" {}

run "name" {
  command = plan
  variables {
    name = "M7_Pulse"
  }
  expect_failures = [var.name]
}

run "name_too_long" {
  command = plan
  variables {
    name = "a-name-of-more-than-twenty"
  }
  expect_failures = [var.name]
}

run "region" {
  command = plan
  variables {
    region = "frankfurt"
  }
  expect_failures = [var.region]
}

run "region_of_china" {
  command = plan
  variables {
    region = "cn-north-1"
  }
  expect_failures = [var.region]
}

run "public_network" {
  command = plan
  variables {
    cidr = "8.8.0.0/16"
  }
  expect_failures = [var.cidr]
}

run "network_that_is_too_small" {
  command = plan
  variables {
    cidr = "10.0.0.0/24"
  }
  expect_failures = [var.cidr]
}

run "not_a_network" {
  command = plan
  variables {
    cidr = "10.0.0.1/16"
  }
  expect_failures = [var.cidr]
}

run "api_for_the_world" {
  command = plan
  variables {
    admin_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.admin_cidrs]
}

run "two_nat_gateways" {
  command = plan
  variables {
    nat_gateways = 2
  }
  expect_failures = [var.nat_gateways]
}

run "old_kubernetes" {
  command = plan
  variables {
    kubernetes_version = "1.29"
  }
  expect_failures = [var.kubernetes_version]
}

run "two_nodes" {
  command = plan
  variables {
    nodes = { type = "m7i.large", min = 2, max = 3 }
  }
  expect_failures = [var.nodes]
}

run "arm_nodes" {
  command = plan
  variables {
    nodes = { type = "m7g.large", min = 3, max = 3 }
  }
  expect_failures = [var.nodes]
}

run "no_redis" {
  command = plan
  variables {
    redis = { type = "cache.t4g.small", nodes = 0 }
  }
  expect_failures = [var.redis]
}

run "bucket_with_dots" {
  command = plan
  variables {
    bucket = "my.warehouse"
  }
  expect_failures = [var.bucket]
}

run "no_way_back" {
  command = plan
  variables {
    keep_deleted_days = 0
  }
  expect_failures = [var.keep_deleted_days]
}

run "role_for_every_pod" {
  command = plan
  variables {
    warehouse_accounts = ["sink-iceberg", "default"]
  }
  expect_failures = [var.warehouse_accounts]
}

run "no_role_for_the_sink" {
  command = plan
  variables {
    warehouse_accounts = ["nessie"]
  }
  expect_failures = [var.warehouse_accounts]
}

run "other_kafka" {
  command = plan
  variables {
    kafka = "kinesis"
  }
  expect_failures = [var.kafka]
}

run "four_brokers" {
  command = plan
  variables {
    msk = { brokers = 4 }
  }
  expect_failures = [var.msk]
}
