# Amazon's Kafka, where kafka = "msk". Strimzi's is of infra/terraform/platform.
locals {
  msk        = var.kafka == "msk" ? 1 : 0
  kafka_user = "m7pulse-functions"
}

resource "random_password" "kafka" {
  length  = 40
  special = false
}

resource "aws_security_group" "kafka" {
  count       = local.msk
  name        = "${var.name}-kafka"
  description = "Kafka, from the cluster's pods alone"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "kafka" {
  count                        = local.msk
  security_group_id            = aws_security_group.kafka[0].id
  referenced_security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 9096
  to_port                      = 9096
}

# A record is acknowledged when two of three brokers have it.
resource "aws_msk_configuration" "this" {
  count = local.msk
  name  = var.name
  server_properties = join("\n", [
    "auto.create.topics.enable=false",
    "default.replication.factor=3",
    "min.insync.replicas=2",
    "offsets.topic.replication.factor=3",
    "transaction.state.log.replication.factor=3",
    "transaction.state.log.min.isr=2",
    "unclean.leader.election.enable=false",
  ])
}

resource "aws_msk_cluster" "this" {
  count                  = local.msk
  cluster_name           = var.name
  kafka_version          = "4.1.x.kraft"
  number_of_broker_nodes = var.msk.brokers

  broker_node_group_info {
    instance_type   = var.msk.type
    client_subnets  = aws_subnet.private[*].id
    security_groups = [aws_security_group.kafka[0].id]

    storage_info {
      ebs_storage_info {
        volume_size = var.msk.disk
      }
    }
  }

  configuration_info {
    arn      = aws_msk_configuration.this[0].arn
    revision = aws_msk_configuration.this[0].latest_revision
  }

  client_authentication {
    unauthenticated = false
    sasl {
      scram = true
    }
  }

  encryption_info {
    encryption_at_rest_kms_key_arn = aws_kms_key.this.arn
    encryption_in_transit {
      client_broker = "TLS"
      in_cluster    = true
    }
  }
}

# MSK takes users from secrets with this prefix and a key of one's own.
resource "aws_secretsmanager_secret" "kafka" {
  count      = local.msk
  name       = "AmazonMSK_${var.name}"
  kms_key_id = aws_kms_key.this.arn
}

resource "aws_secretsmanager_secret_version" "kafka" {
  count     = local.msk
  secret_id = aws_secretsmanager_secret.kafka[0].id
  secret_string = jsonencode({
    username = local.kafka_user
    password = random_password.kafka.result
  })
}

resource "aws_msk_scram_secret_association" "kafka" {
  count           = local.msk
  cluster_arn     = aws_msk_cluster.this[0].arn
  secret_arn_list = [aws_secretsmanager_secret.kafka[0].arn]

  depends_on = [aws_secretsmanager_secret_version.kafka]
}
