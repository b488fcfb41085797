#include <sharehold.h>
int main() { return sh_int(1).of.integer == 1 ? 0 : 1; }
