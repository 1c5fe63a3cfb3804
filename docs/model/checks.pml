/* What all models share: how a check is named, and how processes are started. */

#define NONE 0

/* The names are what spin prints; each is a variable of the model that uses it. */
#define CHECK_NOT(fault, condition) fault = (condition); assert(!fault)

/* Starts as many processes of a kind as are asked for; the process that starts them has a byte i. */
#define START(count, process) i = 0; do :: i < count -> i++; process :: else -> break od
