/* limetree: one file a command, each with a function of main()'s shape (argv[0] is the command's name). */
#ifndef LT_CLI_CLI_H
#define LT_CLI_CLI_H

int lt_cli_cmd_verify(int argc, char **argv);
int lt_cli_cmd_pki(int argc, char **argv);
int lt_cli_cmd_ca(int argc, char **argv);
int lt_cli_cmd_ek(int argc, char **argv);
int lt_cli_cmd_domain(int argc, char **argv);
int lt_cli_cmd_escrow(int argc, char **argv);
int lt_cli_cmd_host(int argc, char **argv);
int lt_cli_cmd_guest(int argc, char **argv);
int lt_cli_cmd_policy(int argc, char **argv);
int lt_cli_cmd_revocation(int argc, char **argv);
int lt_cli_cmd_token(int argc, char **argv);
int lt_cli_cmd_log(int argc, char **argv);

#endif
