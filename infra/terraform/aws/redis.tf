resource "random_password" "redis" {
  length  = 40
  special = false # it is part of an address
}

resource "aws_elasticache_subnet_group" "redis" {
  name       = var.name
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_security_group" "redis" {
  name        = "${var.name}-redis"
  description = "Redis, from the cluster's pods alone"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "redis" {
  security_group_id            = aws_security_group.redis.id
  referenced_security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

# aggregate refuses a server that evicts its histories.
resource "aws_elasticache_parameter_group" "redis" {
  name   = var.name
  family = "redis7"

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

# Redis 7 of ElastiCache keeps no append-only file: replicas in other zones, and a
# snapshot a day, are what there is. What a failover loses, aggregate reads again.
resource "aws_elasticache_replication_group" "redis" {
  replication_group_id       = var.name
  description                = "Histories, budgets and leases of ${var.name}"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = var.redis.type
  num_cache_clusters         = var.redis.nodes
  automatic_failover_enabled = var.redis.nodes > 1
  multi_az_enabled           = var.redis.nodes > 1
  parameter_group_name       = aws_elasticache_parameter_group.redis.name
  subnet_group_name          = aws_elasticache_subnet_group.redis.name
  security_group_ids         = [aws_security_group.redis.id]
  port                       = 6379
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  at_rest_encryption_enabled = true
  auth_token                 = random_password.redis.result
  snapshot_retention_limit   = 7
  apply_immediately          = true
}
