import { createInterface } from 'node:readline/promises'
import { MillraceError } from '../client/index.js'

/**
 * Asks a question on the terminal; true for "y" or "yes".
 * @param flag the flag that answers it on the command line
 * @throws MillraceError BAD_OPTION without a terminal
 */
export async function confirmed(question: string, flag: string): Promise<boolean> {
  if (process.stdin.isTTY !== true)
    throw new MillraceError(
      'BAD_OPTION',
      `this can't be undone; without a terminal for a question, confirm it with ${flag}`,
    )
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim())
  } finally {
    terminal.close()
  }
}
