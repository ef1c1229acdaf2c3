brokers = { count = 3, disk = 60, memory = "2Gi", cpu = "500m" }
