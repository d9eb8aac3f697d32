/**
 * Coverage for the fuzzer: TypeScript is compiled with a counter in every function and every branch. What a run of the
 * code touched lies in `globalThis.__tcCoverage`, one byte a place, which whoever reads it clears.
 */
import ts from 'typescript';

/** Places of all modules together; an array of this length. */
export const coverageBytes = 1 << 14;
const arrayName = '__tcCoverage';

/** Gives each place its number. */
export class Places {
  count = 0;

  next(): number {
    if (this.count === coverageBytes) throw new Error(`more than ${coverageBytes} places to count`);
    return this.count++;
  }
}

/** JavaScript of one module; with counters where `places` is given. Types are not checked. */
export function compileModule(fileName: string, text: string, places: Places | null): string {
  const { outputText } = ts.transpileModule(text, {
    fileName,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      inlineSourceMap: true,
      inlineSources: true,
    },
    ...(places === null ? {} : { transformers: { before: [counting(places)] } }),
  });
  return places === null
    ? outputText
    : `const ${arrayName} = (globalThis.${arrayName} ??= new Uint8Array(${coverageBytes}));${outputText}`;
}

function counting(places: Places): ts.TransformerFactory<ts.SourceFile> {
  return (context) => {
    const { factory } = context;
    const count = (): ts.Expression =>
      factory.createPostfixIncrement(
        factory.createElementAccessExpression(factory.createIdentifier(arrayName), places.next()),
      );
    const counted = (expression: ts.Expression): ts.Expression =>
      factory.createParenthesizedExpression(factory.createComma(count(), expression));
    const statement = (): ts.Statement => factory.createExpressionStatement(count());
    const block = (body: ts.Statement): ts.Block =>
      ts.isBlock(body)
        ? factory.updateBlock(body, [statement(), ...body.statements])
        : factory.createBlock([statement(), body], true);

    const visit = (node: ts.Node): ts.Node => {
      const inner = ts.visitEachChild(node, visit, context);
      if (ts.isIfStatement(inner)) {
        const otherwise = inner.elseStatement ?? factory.createBlock([]);
        return factory.updateIfStatement(inner, inner.expression, block(inner.thenStatement), block(otherwise));
      }
      if (ts.isForStatement(inner)) {
        const { initializer, condition, incrementor } = inner;
        return factory.updateForStatement(inner, initializer, condition, incrementor, block(inner.statement));
      }
      if (ts.isForOfStatement(inner)) {
        const { awaitModifier, initializer, expression } = inner;
        return factory.updateForOfStatement(inner, awaitModifier, initializer, expression, block(inner.statement));
      }
      if (ts.isWhileStatement(inner))
        return factory.updateWhileStatement(inner, inner.expression, block(inner.statement));
      if (ts.isCaseClause(inner)) {
        return factory.updateCaseClause(inner, inner.expression, [statement(), ...inner.statements]);
      }
      if (ts.isDefaultClause(inner)) return factory.updateDefaultClause(inner, [statement(), ...inner.statements]);
      if (ts.isCatchClause(inner))
        return factory.updateCatchClause(inner, inner.variableDeclaration, block(inner.block));
      if (ts.isConditionalExpression(inner)) {
        const { condition, questionToken, whenTrue, colonToken, whenFalse } = inner;
        return factory.updateConditionalExpression(
          inner,
          condition,
          questionToken,
          counted(whenTrue),
          colonToken,
          counted(whenFalse),
        );
      }
      if (ts.isBinaryExpression(inner) && shortCircuits.has(inner.operatorToken.kind)) {
        return factory.updateBinaryExpression(inner, inner.left, inner.operatorToken, counted(inner.right));
      }
      if (ts.isFunctionDeclaration(inner) && inner.body !== undefined) {
        const { modifiers, asteriskToken, name, typeParameters, parameters, type } = inner;
        return factory.updateFunctionDeclaration(
          inner,
          modifiers,
          asteriskToken,
          name,
          typeParameters,
          parameters,
          type,
          block(inner.body),
        );
      }
      if (ts.isMethodDeclaration(inner) && inner.body !== undefined) {
        const { modifiers, asteriskToken, name, questionToken, typeParameters, parameters, type } = inner;
        return factory.updateMethodDeclaration(
          inner,
          modifiers,
          asteriskToken,
          name,
          questionToken,
          typeParameters,
          parameters,
          type,
          block(inner.body),
        );
      }
      if (ts.isArrowFunction(inner)) {
        const { modifiers, typeParameters, parameters, type, equalsGreaterThanToken, body } = inner;
        const counting = ts.isBlock(body) ? block(body) : counted(body);
        return factory.updateArrowFunction(
          inner,
          modifiers,
          typeParameters,
          parameters,
          type,
          equalsGreaterThanToken,
          counting,
        );
      }
      return inner;
    };
    return (file) => ts.visitEachChild(file, visit, context);
  };
}

const shortCircuits: ReadonlySet<ts.SyntaxKind> = new Set([
  ts.SyntaxKind.AmpersandAmpersandToken,
  ts.SyntaxKind.BarBarToken,
  ts.SyntaxKind.QuestionQuestionToken,
]);
