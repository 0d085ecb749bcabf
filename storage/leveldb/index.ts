export {
  type FileProblem,
  hasFiles,
  type Inspection,
  inspectDatabase,
  isBlank,
  isManifest,
  type MendedManifest,
  readWriteAheadFiles,
  type WriteAheadFile,
} from './inspect.js'
export { type LogFile, type LogFileRecord, readLogFile, writeLogFile } from './log_format.js'
export { Cursor, encodeVarint } from './varint.js'
