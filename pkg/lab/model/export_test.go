package model

import "context"

// AnswerLine is one line of the protocol.
func AnswerLine(m *Machine, line []byte) (any, error) {
	return m.answer(context.Background(), line, &held{})
}
