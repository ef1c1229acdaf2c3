package sinkclickhouse

import (
	"context"
)

type writer struct{}

func (w *writer) take(ctx context.Context) error { return nil }
func (w *writer) fence(ctx context.Context) (context.Context, context.CancelFunc, error) {
	c, f := context.WithTimeout(ctx, insertLimit)
	return c, f, nil
}
