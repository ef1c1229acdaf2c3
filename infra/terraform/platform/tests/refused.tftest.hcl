# Run as strimzi.tftest.hcl: each run spoils one value.
mock_provider "helm" {}
mock_provider "kubernetes" {}

variables {
  aws = {
    region         = "eu-central-1"
    cidr           = "10.70.0.0/16"
    cluster        = "m7pulse"
    endpoint       = "https://example.invalid"
    authority      = "Y2VydGlmaWNhdGU="
    bucket         = "warehouse-of-the-test"
    s3_cidrs       = ["3.5.0.0/16", "52.219.0.0/16"]
    redis_url      = "rediss://:secret-of-redis@redis.invalid:6379/0"
    kafka          = "strimzi"
    kafka_brokers  = "m7pulse-kafka-bootstrap.m7pulse.svc.cluster.local:9093"
    kafka_user     = "m7pulse-functions"
    kafka_password = "secret-of-kafka"
  }
  schema_registry_url   = "http://schema-registry.m7pulse.svc.cluster.local:8081/apis/ccompat/v7"
  clickhouse_url        = "http://pulse:secret-of-clickhouse@clickhouse.m7pulse.svc.cluster.local:8123"
  clickhouse_reader_url = "http://reader:secret-of-the-reader@clickhouse.m7pulse.svc.cluster.local:8123"
  github_token          = "secret-of-github"
}

run "redis_without_tls" {
  command = plan
  variables {
    aws = {
      region         = "eu-central-1"
      cidr           = "10.70.0.0/16"
      cluster        = "m7pulse"
      endpoint       = "https://example.invalid"
      authority      = "Y2VydGlmaWNhdGU="
      bucket         = "warehouse-of-the-test"
      s3_cidrs       = ["3.5.0.0/16", "52.219.0.0/16"]
      redis_url      = "redis://:secret-of-redis@redis.invalid:6379/0"
      kafka          = "strimzi"
      kafka_brokers  = "m7pulse-kafka-bootstrap.m7pulse.svc.cluster.local:9093"
      kafka_user     = "m7pulse-functions"
      kafka_password = "secret-of-kafka"
    }
  }
  expect_failures = [var.aws]
}

run "a_user_whose_secret_is_ours" {
  command = plan
  variables {
    aws = {
      region         = "eu-central-1"
      cidr           = "10.70.0.0/16"
      cluster        = "m7pulse"
      endpoint       = "https://example.invalid"
      authority      = "Y2VydGlmaWNhdGU="
      bucket         = "warehouse-of-the-test"
      s3_cidrs       = ["3.5.0.0/16", "52.219.0.0/16"]
      redis_url      = "rediss://:secret-of-redis@redis.invalid:6379/0"
      kafka          = "strimzi"
      kafka_brokers  = "m7pulse-kafka-bootstrap.m7pulse.svc.cluster.local:9093"
      kafka_user     = "m7pulse"
      kafka_password = "secret-of-kafka"
    }
  }
  expect_failures = [var.aws]
}

run "no_manifests" {
  command = plan
  variables {
    manifests = "/nowhere.yaml"
  }
  expect_failures = [var.manifests]
}

run "two_brokers" {
  command = plan
  variables {
    brokers = { count = 2 }
  }
  expect_failures = [var.brokers]
}

run "memory_without_a_unit" {
  command = plan
  variables {
    brokers = { memory = "2" }
  }
  expect_failures = [var.brokers]
}

run "owners" {
  command = plan
  variables {
    owners = "apple"
  }
  expect_failures = [var.owners]
}

run "a_password_in_the_config_map" {
  command = plan
  variables {
    catalog_uri = "https://user:password@nessie.invalid"
  }
  expect_failures = [var.catalog_uri]
}

run "registry" {
  command = plan
  variables {
    schema_registry_url = "schema-registry:8081"
  }
  expect_failures = [var.schema_registry_url]
}

run "clickhouse_without_a_password" {
  command = plan
  variables {
    clickhouse_url = "http://clickhouse.invalid:8123"
  }
  expect_failures = [var.clickhouse_url]
}

run "a_reader_who_writes" {
  command = plan
  variables {
    clickhouse_reader_url = "http://pulse:secret-of-clickhouse@clickhouse.m7pulse.svc.cluster.local:8123"
  }
  expect_failures = [var.clickhouse_reader_url]
}

run "tokens_with_spaces" {
  command = plan
  variables {
    github_token = "one, two"
  }
  expect_failures = [var.github_token]
}
