package lab

import (
	"context"
	"fmt"
	"io"
)

// The formats of [Show].
const (
	FormatTable = "table"
	FormatJSON  = "json"
)

// Serve starts a lab, tells people where it is, and stays until ctx ends.
func Serve(ctx context.Context, o Options, w io.Writer) error {
	f, err := Start(ctx, o)
	if err != nil {
		return err
	}
	if err := f.announce(w); err != nil {
		_ = f.Close()
		return err
	}
	<-ctx.Done()
	return f.Close()
}

// announce prints one line a machine, and ready.
func (f *Fleet) announce(w io.Writer) error {
	d, err := f.Describe()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "A simulation of the Windows domain %s: nothing here is a Windows machine.\n", d.Domain)
	for _, m := range d.Machines {
		fmt.Fprintf(w, "%-6s %s:%d  %s\n", m.Name, m.Host, m.Port, m.Pin)
	}
	if _, err := fmt.Fprintln(w, "ready"); err != nil {
		return fmt.Errorf("announce the lab: %w", err)
	}
	return nil
}

// Show asks the lab that runs in dir what its machines look like and writes it.
func Show(ctx context.Context, dir, format string, w io.Writer) error {
	if format != FormatTable && format != FormatJSON {
		return fmt.Errorf("there is no format %q (known: %s, %s)", format, FormatTable, FormatJSON)
	}
	machines, err := AskView(ctx, dir)
	if err != nil {
		return err
	}
	if format == FormatJSON {
		return WriteJSON(w, machines)
	}
	return WriteTable(w, machines)
}
