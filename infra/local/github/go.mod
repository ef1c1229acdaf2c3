module github.com/m7pulse/m7pulse/infra/local/github

go 1.26.0

require (
	github.com/m7pulse/m7pulse/shared v0.0.0
	github.com/vektah/gqlparser/v2 v2.5.33
)

require github.com/agnivade/levenshtein v1.2.1 // indirect

replace github.com/m7pulse/m7pulse/shared => ../../../shared
