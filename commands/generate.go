package commands

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/password"
)

const maxGenerated = 1000

type generateOptions struct {
	count, length                 int
	upper, lower, digits, symbols int
	rules, complexity             string
}

// notGiven is a number that no flag gave: zero means none.
const notGiven = -1

func newGenerate(d *Deps) *cobra.Command {
	o := generateOptions{}
	cmd := &cobra.Command{
		Use:     "generate",
		Aliases: []string{"gen"},
		Short:   "Generate passwords",
		Long: `Generate passwords that keep the given rules and print them. They are stored
nowhere; record-add takes password=$GEN to make one without showing it.

-u, -l, -d and -s say at least how many characters of a kind there are, 0 that
there are none.`,
		Example: `  keyturn generate
  keyturn generate -n 30 -d 4 -s 0
  keyturn generate -c 3 -x 32,5,5,5,5`,
		Args: positional(), Annotations: notes(annotShort, "f=format o=output nb=no-breachwatch"),
	}
	f := cmd.Flags()
	f.Bool("no-breachwatch", false, "accepted for Commander's sake (short: -nb): no password is sent anywhere")
	f.BoolP("quiet", "q", false, "accepted for Commander's sake: nothing but passwords is printed")
	f.BoolP("password-list", "p", false, "accepted for Commander's sake: nothing but passwords is printed")
	f.IntVarP(&o.count, "count", "c", 1, "how many passwords: a `number`")
	f.IntVarP(&o.length, "number", "n", 0, "the `length` of the passwords")
	f.IntVarP(&o.upper, "upper", "u", notGiven, "at least this `number` of capital letters")
	f.IntVarP(&o.lower, "lower", "l", notGiven, "at least this `number` of small letters")
	f.IntVarP(&o.digits, "digits", "d", notGiven, "at least this `number` of digits")
	f.IntVarP(&o.symbols, "symbols", "s", notGiven, "at least this `number` of symbols")
	for _, name := range []string{"upper", "lower", "digits", "symbols"} {
		f.Lookup(name).DefValue = "0" // -1 is nobody's default: help shows none
	}
	f.StringVarP(&o.rules, "rules", "r", "", "the four `NUMBERS` in one: upper,lower,digits,symbols")
	f.StringVarP(&o.complexity, "complexity", "x", "", "the `RULES`: length,upper,lower,digits,symbols[,SPECIALS]")
	return d.leaf(cmd, func(_ context.Context, c *call) (output.View, error) { return generate(c, o) })
}

func generate(c *call, o generateOptions) (output.View, error) {
	rules, err := o.parsed()
	if err != nil {
		return output.View{}, err
	}
	if o.count < 1 || o.count > maxGenerated {
		return output.View{}, usagef("--count: %d is not between 1 and %d", o.count, maxGenerated)
	}
	type row struct {
		Password string `json:"password"`
	}
	rows, lines := []row{}, []string{}
	t := output.Table{Header: []string{"Password"}}
	for range o.count {
		pw, err := password.Generate(c.Random, rules)
		if err != nil {
			return output.View{}, err
		}
		text := strings.Clone(string(pw.Reveal()))
		pw.Destroy()
		rows, lines, t.Rows = append(rows, row{text}), append(lines, text), append(t.Rows, []string{text})
	}
	return output.View{Before: lines, CSV: &t, Document: rows}, nil
}

// parsed returns the rules of the flags: the most particular one wins.
func (o generateOptions) parsed() (password.Rules, error) {
	rules := password.DefaultRules()
	text := o.complexity
	if o.rules != "" && text == "" {
		text = fmt.Sprintf("%d,%s", cmp.Or(o.length, rules.Length), o.rules)
	}
	if text != "" {
		var err error
		if rules, err = password.ParseRules(text); err != nil {
			return rules, err
		}
	}
	rules.Length = cmp.Or(o.length, rules.Length)
	for _, n := range []struct {
		given int
		rule  *int
	}{{o.upper, &rules.Upper}, {o.lower, &rules.Lower}, {o.digits, &rules.Digits}, {o.symbols, &rules.Symbols}} {
		if n.given != notGiven {
			*n.rule = n.given
		}
	}
	return rules, nil
}
