package postgres

import guard "gatehouse/internal/sqlguard/postgres"

// readLeakproof reads which operators and casts of pg_catalog tell nothing of their arguments but by their
// results (pg_proc.proleakproof).
func (r *reader) readLeakproof(to *guard.Leakproof) error {
	found := guard.Leakproof{Operators: map[guard.Operator]bool{}, Casts: map[[2]string]bool{}}
	err := r.rows(`SELECT o.oprname, lt.typname, rt.typname FROM pg_operator o
		JOIN pg_proc p ON p.oid = o.oprcode JOIN pg_type lt ON lt.oid = o.oprleft JOIN pg_type rt ON rt.oid = o.oprright
		WHERE p.proleakproof AND o.oprnamespace = 'pg_catalog'::regnamespace AND p.pronamespace = 'pg_catalog'::regnamespace`, func(scan func(...any) error) error {
		var o guard.Operator
		if err := scan(&o.Name, &o.Left, &o.Right); err != nil {
			return err
		}
		found.Operators[o] = true
		return nil
	})
	if err != nil {
		return err
	}
	err = r.rows(`SELECT st.typname, tt.typname FROM pg_cast c JOIN pg_type st ON st.oid = c.castsource JOIN pg_type tt ON tt.oid = c.casttarget
		LEFT JOIN pg_proc p ON p.oid = c.castfunc
		WHERE c.oid < 16384 AND (c.castmethod = 'b' OR p.proleakproof)`, func(scan func(...any) error) error {
		var cast [2]string
		if err := scan(&cast[0], &cast[1]); err != nil {
			return err
		}
		found.Casts[cast] = true
		return nil
	})
	if err != nil {
		return err
	}
	*to = found
	return nil
}
