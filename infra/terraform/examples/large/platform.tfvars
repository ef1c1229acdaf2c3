# With kafka = "msk" the brokers are of aws.tfvars. With Strimzi they would be these.
brokers = { count = 3, disk = 1000, memory = "8Gi", cpu = "2" }
