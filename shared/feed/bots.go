package feed

import "strings"

// Bots tells accounts of programs from those of people.
type Bots struct{ logins map[string]bool }

// knownBots are accounts of programs that GitHub shows as users, in lower case.
func knownBots() []string {
	return []string{
		"apple-fcloutier-bot", "aws-sdk-cpp-automation", "aws-sdk-dotnet-automation", "aws-sdk-go-automation", "aws-sdk-java-automation", "aws-sdk-js-automation",
		"azure-sdk", "bors", "codecov-commenter", "codecov-io", "copybara-service", "coveralls", "dependabot", "dependabot-preview", "dotnet-bot", "dotnet-maestro",
		"facebook-github-bot", "github-actions", "googlebot", "gopherbot", "greenkeeper", "greenkeeperio-bot", "k8s-ci-robot", "llvmbot", "meta-cla", "mergify",
		"microsoft-github-policy-service", "msftbot", "netlify", "openshift-ci-robot", "pytorchbot", "pytorchmergebot", "renovate", "renovate-bot", "rust-highfive",
		"rustbot", "semantic-release-bot", "snyk-bot", "swift-ci", "tensorflow-copybara", "tensorflow-jenkins", "tensorflower-gardener", "vercel",
	}
}

// NewBots returns the bots that are known, and those of more, by login whatever its
// case.
func NewBots(more ...string) Bots {
	b := Bots{map[string]bool{}}
	for _, login := range append(knownBots(), more...) {
		b.logins[strings.ToLower(login)] = true
	}
	return b
}

// Is says whether an account is a program's: by its type, where GitHub gives it; by
// its login's end, [bot] or -bot; or because it is listed.
func (b Bots) Is(login, accountType string) bool {
	login = strings.ToLower(login)
	return accountType == "Bot" || strings.HasSuffix(login, "[bot]") || strings.HasSuffix(login, "-bot") || b.logins[login]
}
