import { execFile } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

/**
 * Looks a program up in PATH and then in further folders.
 * @returns its path, or undefined when it isn't there
 */
export async function findProgram(
  name: string,
  folders: readonly string[] = [],
): Promise<string | undefined> {
  return (await findPrograms(name, folders))[0]
}

/** All programs of that name in PATH and then in further folders, each once. */
export async function findPrograms(
  name: string,
  folders: readonly string[] = [],
): Promise<readonly string[]> {
  const searched = new Set([...(process.env.PATH ?? '').split(delimiter), ...folders])
  const found: string[] = []
  for (const folder of searched) {
    const path = join(folder, name)
    if (folder !== '' && (await isExecutable(path))) found.push(path)
  }
  return found
}

/** What a program prints, on both outputs, when asked for its version. @throws Error when it can't be run */
export async function programOutput(program: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(program, args, { timeout: 30_000 })
  return `${stdout}${stderr}`.trim()
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
