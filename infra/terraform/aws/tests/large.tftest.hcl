# Run with -var-file=../examples/large/aws.tfvars.
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

run "kafka" {
  assert {
    condition     = aws_msk_cluster.this[0].number_of_broker_nodes >= 3 && length(toset(aws_subnet.private[*].availability_zone)) == 3
    error_message = "Less than three brokers, or not in three zones."
  }
  assert {
    condition = alltrue([for line in [
      "min.insync.replicas=2", "default.replication.factor=3", "auto.create.topics.enable=false",
      "transaction.state.log.min.isr=2", "transaction.state.log.replication.factor=3", "unclean.leader.election.enable=false",
    ] : contains(split("\n", aws_msk_configuration.this[0].server_properties), line)])
    error_message = "A record may be lost with one broker, or a topic be made that nobody declared."
  }
  assert {
    condition     = aws_msk_cluster.this[0].client_authentication[0].sasl[0].scram && !aws_msk_cluster.this[0].client_authentication[0].unauthenticated
    error_message = "Kafka asks for no password."
  }
  assert {
    condition     = aws_msk_cluster.this[0].encryption_info[0].encryption_in_transit[0].client_broker == "TLS" && aws_msk_cluster.this[0].encryption_info[0].encryption_in_transit[0].in_cluster
    error_message = "Kafka speaks without TLS."
  }
  assert {
    condition     = startswith(aws_secretsmanager_secret.kafka[0].name, "AmazonMSK_") && aws_secretsmanager_secret.kafka[0].kms_key_id == aws_kms_key.this.arn
    error_message = "MSK takes no such secret."
  }
  assert {
    condition     = jsondecode(aws_secretsmanager_secret_version.kafka[0].secret_string) == { username = output.platform.kafka_user, password = output.platform.kafka_password }
    error_message = "The functions get another user than Kafka."
  }
  assert {
    condition     = output.platform.kafka_brokers == aws_msk_cluster.this[0].bootstrap_brokers_sasl_scram && aws_vpc_security_group_ingress_rule.kafka[0].from_port == 9096
    error_message = "The functions are given another door than the one with a password."
  }
}

run "a_zone_may_fail" {
  assert {
    condition     = aws_elasticache_replication_group.redis.multi_az_enabled && aws_elasticache_replication_group.redis.automatic_failover_enabled && aws_elasticache_replication_group.redis.num_cache_clusters >= 2
    error_message = "Redis is in one zone."
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 3 && length(aws_route.nat) == 3
    error_message = "Zones share a NAT gateway."
  }
  assert {
    condition     = one(aws_eks_node_group.this.scaling_config).min_size >= 3
    error_message = "Not a node in each zone."
  }
  assert {
    condition     = !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "The API is open though nobody is let in."
  }
}
