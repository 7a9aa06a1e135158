"""Another bundle is made to answer: trial, probation, switch, rollback, a shadow for days."""
