package main

import (
	"context"

	"keyturn/pkg/discover"
	"keyturn/pkg/pam"
)

// discover looks at who runs what, in this process.
func (p *process) discover(
	ctx context.Context, d pam.Discovery, machines []pam.UID, on func(pam.Finding),
) (pam.Discovery, error) {
	e, done, err := p.discoverer(ctx)
	if err != nil {
		return d, err
	}
	defer done()
	return e.Run(ctx, d, machines, on)
}

// examine tests whether machines can be worked with, in this process.
func (p *process) examine(ctx context.Context, machines []pam.UID, on func(discover.Health)) ([]discover.Health, error) {
	e, done, err := p.discoverer(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return e.Examine(ctx, machines, on)
}

func (p *process) discoverer(ctx context.Context) (e *discover.Engine, done func(), err error) {
	v, err := p.vault(ctx)
	if err != nil {
		return nil, nil, err
	}
	log, closeLog, err := p.logger()
	if err != nil {
		return nil, nil, err
	}
	return discover.New(discover.Config{Store: v, Visitor: p.engine(v, log).Visit(), Now: p.d.Now}), closeLog, nil
}
