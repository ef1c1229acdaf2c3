module github.com/m7pulse/m7pulse/functions/aggregate

go 1.26

require github.com/m7pulse/m7pulse/shared v0.0.0

replace github.com/m7pulse/m7pulse/shared => ../../shared
