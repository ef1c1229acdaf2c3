# 1,000,000 repositories, read every hour; a zone may fail.
region       = "eu-central-1"
bucket       = "m7pulse-warehouse-example-large"
admin_cidrs  = [] # from inside the network alone
nat_gateways = 3
nodes        = { type = "m7i.2xlarge", min = 3, max = 9 }
redis        = { type = "cache.r7g.large", nodes = 3 }
kafka        = "msk"
msk          = { type = "kafka.m7g.large", brokers = 3, disk = 1000 }
