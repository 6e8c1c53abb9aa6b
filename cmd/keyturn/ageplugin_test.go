package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// pluginName is the age plugin of the stories, a program of its own.
const pluginName = "age-plugin-story"

// storyPIN is what the plugin asks for before it decrypts.
const storyPIN = "4711-pin"

// runPlugin is that plugin: a token with one key and a PIN, which is mislaid when
// STORY_TOKEN says so.
func runPlugin() {
	p, err := plugin.New("story")
	if err != nil {
		panic(err)
	}
	p.HandleRecipient(func([]byte) (age.Recipient, error) { return pluginToken{p}, nil })
	p.HandleIdentity(func([]byte) (age.Identity, error) { return pluginToken{p}, nil })
	os.Exit(p.Main())
}

type pluginToken struct{ p *plugin.Plugin }

func tokenKey() []byte {
	sum := sha256.Sum256([]byte("the only key of the token"))
	return sum[:16]
}

// Wrap implements age.Recipient.
func (pluginToken) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	body := make([]byte, len(fileKey))
	for i, k := range tokenKey() {
		body[i] = fileKey[i] ^ k
	}
	return []*age.Stanza{{Type: "story", Body: body}}, nil
}

// Unwrap implements age.Identity.
func (t pluginToken) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		if s.Type != "story" {
			continue
		}
		if os.Getenv("STORY_TOKEN") == "mislaid" {
			return nil, errors.New("there is no token\x1b[31m in the reader")
		}
		if err := t.p.DisplayMessage("touch the token\x1b[2J now"); err != nil {
			return nil, err
		}
		if ok, err := t.p.Confirm("open the vault?", "open", "leave"); err != nil || !ok {
			return nil, fmt.Errorf("not confirmed: %w", err)
		}
		if pin, err := t.p.RequestValue("PIN", true); err != nil || pin != storyPIN {
			return nil, errors.New("wrong PIN")
		}
		wrapped, err := pluginToken{}.Wrap(s.Body)
		if err != nil {
			return nil, err
		}
		return wrapped[0].Body, nil
	}
	return nil, age.ErrIncorrectIdentity
}
