package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/m7pulse/m7pulse/functions/api/assistant"
)

type mcpCommand struct{}

// Run answers an assistant on standard input and output until it goes.
func (c *mcpCommand) Run(ctx context.Context, p *place) error {
	server := assistant.New(assistant.API{
		// With each call: the stack may be started after the assistant, or anew on other ports.
		Base: func() (string, error) {
			if address := p.env["API_URL"]; address != "" {
				return address, nil
			}
			env, err := p.home.ReadEnv()
			if err == nil && env["API_URL"] == "" {
				err = fmt.Errorf("the stack in %s has no API", p.home)
			}
			return env["API_URL"], err
		},
		Client: &http.Client{Timeout: 20 * time.Second},
		Key:    p.env["API_KEY"],
	})
	return server.Run(ctx, &mcp.StdioTransport{})
}
