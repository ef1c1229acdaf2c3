package main

import (
	"context"
	"os"
	"time"

	"github.com/m7pulse/m7pulse/digest"
)

type digestCommand struct {
	Week bool `help:"Of the last seven days instead of the last 24 hours."`
	HTML bool `name:"html" help:"A page of HTML instead of Markdown."`
}

// Run writes the digest that ends now.
func (c *digestCommand) Run(ctx context.Context, p *place) error {
	conn, err := p.hotStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	d, err := digest.Read(ctx, conn, time.Now(), c.Week)
	if err != nil {
		return err
	}
	if c.HTML {
		return d.HTML(os.Stdout)
	}
	return d.Markdown(os.Stdout)
}
