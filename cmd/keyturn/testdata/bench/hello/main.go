// Command hello is the least that a Go program costs: what keyturn is measured by.
package main

import "fmt"

func main() { fmt.Println("hello, world") }
