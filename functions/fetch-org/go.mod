module github.com/m7pulse/m7pulse/functions/fetch-org

go 1.26

require (
	github.com/m7pulse/m7pulse/shared v0.0.0
	github.com/redis/go-redis/v9 v9.23.0
	github.com/shurcooL/githubv4 v0.0.0-20260209031235-2402fdf4a9ed
)

replace github.com/m7pulse/m7pulse/shared => ../../shared
