/* Stands in for the interpreter of a release, so that what bin/run starts takes a millisecond: INTERPRETER -I -S RELEASE/bin/run WORD [ARGUMENT…]

   serve FILE CONFIG   the service: FILE says from now on which release runs, and what CONFIG said then; unless src/behaviour says "stuck"
   stop FILE           nothing runs
   health FILE         whether this release runs, and is well: not when src/behaviour says "breaks"; prints its id
   hook FILE           writes a line to FILE; fails when src/behaviour says "refuses" */
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char behaviour[64];

static size_t contents(const char *path, char *data, size_t most) {
    int file = open(path, O_RDONLY);
    ssize_t size = file < 0 ? 0 : read(file, data, most - 1);
    if (file >= 0) close(file);
    data[size > 0 ? size : 0] = 0;
    return size > 0 ? size : 0;
}

int main(int count, char **words) {
    char release[4096], path[4200], text[4096], *id;
    if (count < 6) return 64;
    strncpy(release, words[3], sizeof release - 1);
    dirname(dirname(release));
    id = strrchr(release, '/') + 1;
    snprintf(path, sizeof path, "%s/src/behaviour", release);
    contents(path, behaviour, sizeof behaviour);
    const char *word = words[4], *file = words[5];
    if (!strcmp(word, "serve")) {
        if (!strcmp(behaviour, "stuck")) return 9;
        contents(words[6], text, sizeof text);
        snprintf(path, sizeof path, "%s.new", file);
        FILE *out = fopen(path, "w");
        if (!out) return 8;
        fprintf(out, "%s\n%s", id, text);
        return fclose(out) || rename(path, file) ? 8 : 0;
    }
    if (!strcmp(word, "stop")) { unlink(file); return 0; }
    if (!strcmp(word, "health")) {
        size_t size = contents(file, text, sizeof text);
        if (size < strlen(id) || strncmp(text, id, strlen(id)) || !strcmp(behaviour, "breaks")) return 1;
        return printf("%s\n", id) < 0;
    }
    if (!strcmp(word, "hook")) {
        FILE *out = fopen(file, "a");
        if (!out) return 8;
        fprintf(out, "%s\n", id);
        return fclose(out) || !strcmp(behaviour, "refuses");
    }
    return 64;
}
