output "cluster" {
  description = "The cluster's name."
  value       = aws_eks_cluster.this.name
}

output "bucket" {
  description = "The warehouse's bucket."
  value       = aws_s3_bucket.warehouse.bucket
}

output "kubeconfig" {
  description = "What to run to reach the cluster with kubectl."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${aws_eks_cluster.this.name}"
}

output "platform" {
  description = "What infra/terraform/platform takes as its variable aws: with passwords."
  sensitive   = true
  value = {
    region         = var.region
    cidr           = var.cidr
    cluster        = aws_eks_cluster.this.name
    endpoint       = aws_eks_cluster.this.endpoint
    authority      = aws_eks_cluster.this.certificate_authority[0].data
    bucket         = aws_s3_bucket.warehouse.bucket
    s3_cidrs       = aws_vpc_endpoint.s3.cidr_blocks
    redis_url      = "rediss://:${random_password.redis.result}@${aws_elasticache_replication_group.redis.primary_endpoint_address}:6379/0"
    kafka          = var.kafka
    kafka_brokers  = var.kafka == "msk" ? aws_msk_cluster.this[0].bootstrap_brokers_sasl_scram : "m7pulse-kafka-bootstrap.m7pulse.svc.cluster.local:9093"
    kafka_user     = local.kafka_user
    kafka_password = random_password.kafka.result
  }
}
