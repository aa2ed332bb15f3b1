package resp

import "github.com/framedb/framedb/client/wire"

// Login authenticates and reads one reply for each of the further commands, in
// one round trip. Without a password nothing is sent for it.
//
// Errors: the Error of the first command that the server refuses, beside the
// replies of the others.
func (c *Conn) Login(password string, then ...[]string) ([]any, error) {
	if password != "" {
		c.Command("AUTH", password)
	}
	for _, cmd := range then {
		c.Command(cmd...)
	}
	if err := c.Flush(); err != nil {
		return nil, err
	}
	var refused error
	read := func() (any, error) {
		reply, err := c.Reply(maxText)
		if CodeOf(err) == "" {
			return reply, err
		}
		if refused == nil {
			refused = err
		}
		return nil, nil
	}
	if password != "" {
		if _, err := read(); err != nil {
			return nil, err
		}
	}
	replies := make([]any, len(then))
	for i := range then {
		reply, err := read()
		if err != nil {
			return nil, err
		}
		replies[i] = reply
	}
	return replies, refused
}

// Map makes a map of a flat list of names and values; what is no string is
// left out.
func Map(reply any) map[string]string {
	list, _ := reply.([]any)
	m := make(map[string]string, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		name, ok := list[i].(string)
		value, ok2 := list[i+1].(string)
		if ok && ok2 {
			m[name] = value
		}
	}
	return m
}

// Role reads the answer to ROLE.
func Role(reply any) wire.Role {
	list, _ := reply.([]any)
	if len(list) == 0 {
		return wire.RoleUnknown
	}
	switch list[0] {
	case "master":
		return wire.RoleMaster
	case "slave":
		return wire.RoleReplica
	}
	return wire.RoleUnknown
}
