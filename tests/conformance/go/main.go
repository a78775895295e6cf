// Command foreign checks what a node emits with code that is not the node's: golang.org/x/mod, transparency-dev's
// formats, merkle and tessera. Every check reads one JSON object from stdin and writes one to stdout; a check that fails
// writes its error to stderr and ends with status 1.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

var checks = map[string]func(*json.Decoder) (any, error){
	"proof":       proofFile,
	"consistency": consistency,
	"cosigned":    cosigned,
	"vectors":     vectors,
	"audit":       audit,
	"fsck":        fsckLog,
}

func main() {
	if len(os.Args) != 2 || checks[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: foreign proof|consistency|cosigned|vectors|audit|fsck < question.json")
		os.Exit(2)
	}
	found, err := checks[os.Args[1]](json.NewDecoder(os.Stdin))
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(found)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
