import { createRequire } from 'node:module'
import { MillraceError } from './errors.js'

export type Lz4 = typeof import('lz4-napi')

let loaded: Lz4 | undefined

/**
 * The codec of lz4, loaded at its first use, because most programs never need this native code.
 * @throws MillraceError CODEC_MISSING
 */
export function lz4(): Lz4 {
  loaded ??= loadLz4(places())
  return loaded
}

/**
 * Loads the codec as the first of these files does it that can.
 * @param from paths or URLs of files; undefined ones are left out
 * @throws MillraceError CODEC_MISSING if none can
 */
export function loadLz4(from: readonly (string | undefined)[]): Lz4 {
  let cause: unknown
  for (const place of from) {
    if (place === undefined) continue
    try {
      return createRequire(place)('lz4-napi') as Lz4
    } catch (error) {
      cause = error
    }
  }
  const reason = cause instanceof Error ? cause.message.split('\n')[0] : 'no file of the program is known'
  throw new MillraceError(
    'CODEC_MISSING',
    `lz4 needs the package "lz4-napi", which could not be loaded: ${reason}. A bundler leaves it out of the program: install lz4-napi beside the bundle, leave millrace out of the bundle (esbuild --external:millrace), or use another compression`,
    { cause },
  )
}

/** A bundler that writes CommonJS leaves `import.meta` empty, and others put the path of the build machine there. */
function places(): readonly (string | undefined)[] {
  const bundle = typeof __filename === 'string' ? __filename : undefined
  return [import.meta.url, bundle, process.argv[1]]
}
